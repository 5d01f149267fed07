"""Sources of settings, profiles, and error texts of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ism_ros.config.profiles import changed_models
from ism_ros.config.settings import Settings, SettingsError, _warn_renamed, changeable
from ism_ros.config.sources import load_settings


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "ism.yaml"
    path.write_text("score_threshold: 0.1\nnms_threshold: 0.1\nmax_rate: 1.0\n")
    environment = {"ISM_NMS_THRESHOLD": "0.2", "ISM_MAX_RATE": "2"}
    settings = load_settings(path, {"max_rate": 3.0}, environment)
    assert (settings.confidence_threshold, settings.score_threshold) == (0.2, 0.1)
    assert (settings.nms_threshold, settings.max_rate) == (0.2, 3.0)


def test_a_ros_parameter_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "ism.yaml"
    path.write_text("/**:\n  ros__parameters:\n    queue_size: 9\n")
    assert load_settings(path, environment={}).queue_size == 9


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"score_threshold": 1.5}, ("score_threshold", "1.5", "less than or equal to 1")),
        ({"reliability": "sometimes"}, ("reliability", "sometimes", "best_effort")),
        ({"scoring": "cnos"}, ("scoring", "cnos", "sam6d", "noctis")),
        ({"queue_size": "many"}, ("queue_size", "many", "integer")),
        ({"treshold": 1}, ("treshold", "unknown", "score_threshold")),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(overrides: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=overrides, environment={})
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "3"])
def test_a_settings_file_that_is_no_mapping_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ism.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"ism\.yaml"):
        load_settings(path, environment={})


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml")


def test_an_empty_settings_file_means_defaults(tmp_path: Path) -> None:
    path = tmp_path / "ism.yaml"
    path.write_text("# nothing\n")
    assert load_settings(path, environment={}) == Settings()


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_thresholds_are_live_and_models_are_not() -> None:
    assert changeable("score_threshold") == "live"
    assert changeable("scoring") == "live"
    assert changeable("segmentor") == "unconfigured"
    assert changeable("slop") == "inactive"
    assert changeable("autostart") == "start"


def test_another_profile_takes_back_what_the_last_one_set_and_nothing_else() -> None:
    chosen = load_settings(None, {"profile": "fast", "descriptor_model": "vitb14"}, environment={})
    changes = changed_models(chosen, {"profile": ""})
    assert changes["segmentor"] == "tiny"
    assert "descriptor_model" not in changes
    assert changed_models(chosen, {"profile": "accurate"})["overlap_threshold"] == 1.0
    assert changed_models(chosen, {"profile": "fast"}) == {}


def test_other_models_take_their_thresholds_along_and_leave_those_set_by_hand() -> None:
    of_sam6d = {"score_threshold": 0.2, "overlap_threshold": 1.0, "min_mask_pixels": -1}
    assert changed_models(Settings(), {"segmentor": "sam", "descriptor": "dinov2"}) == of_sam6d
    assert changed_models(Settings(), {"segmentor": "sam"}) == {}
    pair = load_settings(None, {"segmentor": "sam", "descriptor": "dinov2"}, environment={})
    defaults = {"score_threshold": 0.3, "overlap_threshold": 0.5, "min_mask_pixels": 100}
    assert changed_models(pair, {"segmentor": "tiny", "descriptor": "tiny"}) == defaults
    by_hand = pair.model_copy(update={"score_threshold": 0.5})
    assert "score_threshold" not in changed_models(by_hand, {"segmentor": "tiny", "descriptor": "tiny"})


def test_threads_are_those_given_else_few_for_tiny() -> None:
    assert Settings(cpu_threads=3).resolved_cpu_threads() == 3
    assert 1 <= Settings().resolved_cpu_threads() <= 4


@pytest.mark.parametrize("device", ["cpu", "cpu:0", "cpu:1"])
def test_a_processor_of_any_number_is_the_processor(device: str) -> None:
    assert Settings(device=device).resolved_device() == "cpu"


def test_an_unusable_device_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match="auto or cpu"):
        Settings(device="warp:7").resolved_device()


def test_the_cache_folder_follows_the_users_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Settings().resolved_cache_dir() == tmp_path / "ism_ros"
    assert Settings(cache_dir="/elsewhere").resolved_cache_dir() == Path("/elsewhere")


def test_a_profile_sets_what_is_left_at_its_default() -> None:
    settings = load_settings(None, {"profile": "accurate", "descriptor_model": "vitb14"}, environment={})
    assert (settings.segmentor, settings.segmentor_model) == ("sam", "vit_h")
    assert (settings.descriptor, settings.descriptor_model) == ("dinov2", "vitb14")
    assert (settings.score_threshold, settings.overlap_threshold) == (0.2, 1.0)


def test_a_flag_overrides_a_profile_even_where_it_equals_the_default() -> None:
    flags = {"profile": "accurate", "score_threshold": 0.7}
    settings = load_settings(None, environment={}, flags=flags)
    assert (settings.score_threshold, settings.overlap_threshold) == (0.7, 1.0)


@pytest.mark.parametrize("segmentor", ["tiny", "sam2", "fastsam"])
def test_another_segmentor_with_a_profile_is_of_its_own_usual_size(segmentor: str) -> None:
    settings = load_settings(None, environment={}, flags={"profile": "accurate", "segmentor": segmentor})
    assert (settings.segmentor, settings.segmentor_model) == (segmentor, "")
    assert (settings.descriptor, settings.descriptor_model) == ("dinov2", "vitl14")


@pytest.mark.parametrize("segmentor", ["sam", "fastsam"])
def test_the_models_of_sam6d_have_its_thresholds_without_a_profile_too(segmentor: str) -> None:
    pair = {"segmentor": segmentor, "descriptor": "dinov2"}
    settings = load_settings(None, pair, environment={})
    assert (settings.score_threshold, settings.overlap_threshold) == (0.2, 1.0)
    assert load_settings(None, {**pair, "score_threshold": 0.5}, environment={}).score_threshold == 0.5


@pytest.mark.parametrize("more", [{}, {"descriptor": "dinov2"}, {"profile": "balanced"}, {"profile": "accurate"}])
def test_sam2_has_the_predicted_iou_of_its_authors_unless_another_is_set(more: dict[str, str]) -> None:
    chosen = load_settings(None, {"segmentor": "sam2", **more}, environment={})
    assert (chosen.segmentor, chosen.predicted_iou_threshold) == ("sam2", 0.8)
    by_hand = load_settings(None, {"segmentor": "sam2", **more, "predicted_iou_threshold": 0.9}, environment={})
    assert by_hand.predicted_iou_threshold == 0.9
    flags = {"segmentor": "sam2", **more, "predicted_iou_threshold": 0.88}
    assert load_settings(None, environment={}, flags=flags).predicted_iou_threshold == 0.88


def test_the_predicted_iou_follows_the_segmentor_in_a_profile_and_in_a_running_node() -> None:
    fast = load_settings(None, {"profile": "fast"}, environment={})
    assert fast.predicted_iou_threshold == 0.8
    assert load_settings(None, {"profile": "fast", "segmentor": "sam"}, environment={}).predicted_iou_threshold == 0.88
    assert changed_models(Settings(), {"segmentor": "sam2"}) == {"predicted_iou_threshold": 0.8}
    sam2 = load_settings(None, {"segmentor": "sam2"}, environment={})
    assert changed_models(sam2, {"segmentor": "sam"}) == {"predicted_iou_threshold": 0.88}
    assert changed_models(fast, {"profile": "accurate"})["predicted_iou_threshold"] == 0.88


def test_other_pairs_keep_the_thresholds_of_the_embedded_pair() -> None:
    settings = load_settings(None, {"segmentor": "tiny", "descriptor": "dinov2"}, environment={})
    assert (settings.score_threshold, settings.overlap_threshold) == (0.3, 0.5)


@pytest.mark.parametrize(
    ("name", "older", "newer"),
    [("segmentor", "depth", "tiny"), ("descriptor", "classic", "tiny"), ("scoring", "metric", "shape")],
)
def test_a_value_that_was_renamed_goes_on_working_and_names_the_new_one(
    name: str, older: str, newer: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_renamed.cache_clear()
    assert getattr(load_settings(None, {name: older}, environment={}), name) == newer
    assert len(caplog.messages) == 1
    assert all(word in caplog.messages[0] for word in (name, older, newer))


@pytest.mark.parametrize(
    ("values", "scoring"),
    [({}, "verified"), ({"descriptor": "dinov2"}, "sam6d"), ({"scoring": "noctis"}, "noctis")],
)
def test_how_things_are_compared_goes_by_the_descriptor_unless_it_is_set(values: dict, scoring: str) -> None:
    assert load_settings(None, values, environment={}).resolved_scoring() == scoring


def test_without_a_profile_the_embedded_pair_is_used() -> None:
    settings = load_settings(None, {}, environment={})
    assert (settings.profile, settings.segmentor, settings.descriptor) == ("", "tiny", "tiny")
    embedded = load_settings(None, {"profile": "embedded"}, environment={})
    assert (embedded.segmentor, embedded.descriptor) == ("tiny", "tiny")


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'profile' cannot be 'quick'.*'embedded', 'fast', .* or 'accurate'"):
        load_settings(None, {"profile": "quick"}, environment={})
