"""What `ism doctor` finds on machines on which things are missing, broken or of the wrong version.

Broken libraries are real ones, as far as an import can tell: packages that stand in front of the installed ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ism_ros.checkpoints.catalog import CHECKPOINTS
from ism_ros.selftest import findings, folder_checks, health, library_checks, ros_checks
from ism_ros.selftest.findings import Finding

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package of the given source in front of an installed one of that name, here and in child processes."""
    packages = tmp_path / "packages"
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]))

    def put(name: str, source: str) -> None:
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text(source)

    return put


def sourced(**more: str) -> dict[str, str]:
    """The environment of a shell in which ROS 2 is sourced."""
    return {**os.environ, "ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": "/opt/ros/jazzy", **more}


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


class TestProbe:
    def test_says_what_the_process_printed_last(self) -> None:
        printed = findings.probe("print('noise'); print('{\"a\": 1}')")
        assert printed.output == {"a": 1}
        assert not printed.error

    def test_tells_the_error_and_not_the_traceback(self) -> None:
        assert findings.probe("import no_such_module").error == "ModuleNotFoundError: No module named 'no_such_module'"

    def test_outlives_a_crash(self) -> None:
        assert findings.probe("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").error


class TestRos:
    def test_not_sourced_is_a_warning_that_says_how(self) -> None:
        (finding,) = ros_checks.check_ros({})
        assert finding.state == "warning"
        assert "the node does not" in finding.found
        assert "source" in finding.advice

    def test_rclpy_of_another_python_fails(self, install: Install) -> None:
        install("rclpy", "raise ImportError('_rclpy_pybind11 was built for Python 3.12')")
        (finding,) = ros_checks.check_ros(sourced())
        assert finding.state == "failed"
        assert "built for Python 3.12" in finding.found
        assert "the Python that jazzy was built for" in finding.advice

    @pytest.mark.parametrize("package", ["cv_bridge", "message_filters", "vision_msgs"])
    def test_a_package_that_is_not_installed_fails_with_what_to_install(self, install: Install, package: str) -> None:
        install(package, f"raise ModuleNotFoundError(\"No module named '{package}'\")")
        finding = by_subject(ros_checks.check_ros_packages(sourced()))[package]
        assert finding.state == "failed"
        assert f"apt install ros-jazzy-{package.replace('_', '-')}" in finding.advice

    def test_a_cv_bridge_for_another_numpy_fails_at_its_first_conversion(self, install: Install) -> None:
        raised = "ImportError('numpy.core.multiarray failed to import')"
        source = f"class CvBridge:\n imgmsg_to_cv2 = None\n def cv2_to_imgmsg(self, *_):\n  raise {raised}"
        install("cv_bridge", source)
        finding = by_subject(ros_checks.check_ros_packages(sourced()))["cv_bridge"]
        assert finding.state == "failed"
        assert "another NumPy" in finding.advice
        assert "constraints.txt" in finding.advice

    def test_a_wrong_middleware_is_named(self, install: Install) -> None:
        install("rclpy", "raise RuntimeError('no such middleware')")
        (finding,) = ros_checks.check_ros(sourced(RMW_IMPLEMENTATION="rmw_none_cpp"))
        assert "unset RMW_IMPLEMENTATION (now rmw_none_cpp)" in finding.advice

    @pytest.mark.parametrize(("text", "state"), [("", "passed"), ("0", "passed"), ("232", "passed")])
    def test_a_domain_is_a_number(self, text: str, state: str) -> None:
        assert ros_checks.check_domain({"ROS_DOMAIN_ID": text}).state == state

    @pytest.mark.parametrize("text", ["233", "-1", "lab", "1.5"])
    def test_what_is_no_domain_fails(self, text: str) -> None:
        finding = ros_checks.check_domain({"ROS_DOMAIN_ID": text})
        assert finding.state == "failed"
        assert f"'{text}'" in finding.found

    def test_shared_memory_too_small_for_images_is_a_warning(self, tmp_path: Path) -> None:
        profile = tmp_path / "fastdds.xml"
        profile.write_text("<profiles/>")
        assert ros_checks.check_shared_memory({}).state == "warning"
        assert ros_checks.check_shared_memory({"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}).state == "passed"
        assert ros_checks.check_shared_memory({"FASTRTPS_DEFAULT_PROFILES_FILE": "/no/such.xml"}).state == "failed"


class TestLibraries:
    def test_pytorch_is_told_with_its_version(self) -> None:
        import torch

        pytorch, gpu = library_checks.check_torch()
        assert (pytorch.state, pytorch.found) == ("passed", torch.__version__)
        assert torch.cuda.is_available() or "CPU" in gpu.found

    def test_a_pytorch_that_does_not_import_fails(self, install: Install) -> None:
        install("torch", "raise OSError('libcudart.so.12: cannot open shared object file')")
        (finding,) = library_checks.check_torch()
        assert finding.state == "failed"
        assert "libcudart.so.12" in finding.found

    def test_a_pytorch_too_old_fails(self, install: Install) -> None:
        code = "import types; __version__ = '1.13.1'; version = types.SimpleNamespace(cuda=None)\n"
        install("torch", code + "cuda = types.SimpleNamespace(is_available=lambda: False)")
        (finding,) = library_checks.check_torch()
        assert finding.state == "failed"
        assert finding.advice == "pip install 'torch>=2.2'"

    def test_a_torchvision_of_another_pytorch_is_told_and_does_no_harm(self, install: Install) -> None:
        install("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
        finding = library_checks.check_torchvision()
        assert finding.state == "warning"
        assert "does not match PyTorch" in finding.found
        assert "pip uninstall torchvision" in finding.advice
        assert library_checks.check_transformers(needed=True).state == "passed"

    @pytest.mark.parametrize(
        ("version", "needed", "state"),
        [
            ("4.57.1", True, "failed"),
            ("4.57.1", False, "warning"),
            ("5.19.0", True, "failed"),
            ("5.20.0", True, "passed"),
            ("6.0", True, "failed"),
        ],
    )
    def test_the_version_of_transformers_is_held_against_the_range(
        self, install: Install, version: str, needed: bool, state: str
    ) -> None:
        utilities = "SimpleNamespace(is_torchvision_available=lambda: False)"
        install(
            "transformers",
            f"import sys\nfrom types import SimpleNamespace\nsys.modules['transformers.utils'] = {utilities}\n"
            f"__version__ = '{version}'\nclass SamModel: ...\nclass Dinov2Model: ...",
        )
        finding = library_checks.check_transformers(needed)
        assert finding.state == state
        assert version in finding.found

    @pytest.mark.parametrize("check", [library_checks.check_transformers, library_checks.check_onnxruntime])
    def test_what_only_neural_models_need_may_be_missing(
        self, check: Callable[[bool], Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.setattr(sys, "path_importer_cache", {})
        monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if k.split(".")[0] not in
                                             ("transformers", "onnxruntime")})  # fmt: skip
        assert check(False).state == "passed"
        assert check(True).state != "passed"
        assert "pip install" in check(True).advice

    def test_a_broken_ray_tracer_is_a_warning(self, install: Install) -> None:
        install("embreex", "raise ImportError('libembree4.so.4 is missing')")
        finding = library_checks.check_embree("x86_64")
        assert finding.state == "warning"
        assert finding.advice == "pip install embreex"

    def test_a_numba_that_does_not_import_is_a_warning_that_says_what_it_costs(self, install: Install) -> None:
        install("numba", "raise ImportError('Numba needs NumPy 2.3 or less. Got NumPy 2.4.')")
        finding = library_checks.check_numba()
        assert finding.state == "warning"
        assert "Numba needs NumPy 2.3 or less" in finding.found
        assert "more slowly" in finding.found
        assert "numba" in finding.advice

    def test_numba_is_told_with_its_version(self) -> None:
        pytest.importorskip("numba")
        assert library_checks.check_numba().state == "passed"


class TestFolders:
    def test_a_folder_that_can_be_made_passes_and_is_not_made(self, tmp_path: Path) -> None:
        finding = folder_checks.check_folder("cache", tmp_path / "a" / "b", "cache_dir")
        assert finding.state == "passed"
        assert "not made yet" in finding.found
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_the_way_fails(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("in the way")
        finding = folder_checks.check_folder("cache", tmp_path / "a" / "b", "cache_dir")
        assert finding.state == "failed"
        assert "set cache_dir (ISM_CACHE_DIR) to another folder" in finding.advice

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_without_leave_to_write_is_a_warning(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        assert folder_checks.check_folder("cache", tmp_path, "cache_dir").state == "warning"

    def test_checkpoints_are_listed_and_half_ones_told(self, tmp_path: Path) -> None:
        assert "none" in folder_checks.check_checkpoints(tmp_path).found
        (tmp_path / CHECKPOINTS["sam/vit_b"].file_name).write_bytes(b"weights")
        (tmp_path / f"{CHECKPOINTS['sam/vit_h'].file_name}.part").write_bytes(b"half")
        finding = folder_checks.check_checkpoints(tmp_path)
        assert finding.state == "warning"
        assert finding.found == "sam/vit_b; half fetched: sam/vit_h"
        assert finding.advice == "ism weights download sam/vit_h"


def test_nothing_stops_the_examination(install: Install, tmp_path: Path) -> None:
    for name in ("torch", "torchvision", "transformers", "onnxruntime", "embreex", "rclpy"):
        install(name, "import os; os._exit(77)")
    findings = by_subject(health.examine("fastsam", "dinov2", tmp_path, tmp_path, sourced()))
    for subject in ("ROS 2", "PyTorch", "torchvision", "transformers", "onnxruntime"):
        assert findings[subject].state == ("warning" if subject == "torchvision" else "failed"), subject
        assert findings[subject].advice
    assert findings["Python"].state == findings["cache"].state == "passed"


def test_a_check_that_fails_itself_is_a_finding() -> None:
    (finding,) = findings.checked("ROS 2", lambda: ros_checks.check_ros(sourced(NO_TEXT="\0")))
    assert (finding.subject, finding.state) == ("ROS 2", "failed")
    assert "cannot be looked at (ValueError" in finding.found
