"""The files that ROS and pip read about the package: well-formed, complete, and of one mind."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
import yaml

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE

REPO = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((REPO / "launch").glob("*.launch.py"))

# The order of elements within package.xml by REP 149, and what must be there.
REP_149_FIRST = ["name", "version", "description", "maintainer", "license", "url", "author"]


@pytest.fixture(scope="module")
def manifest() -> ElementTree.Element:
    return ElementTree.parse(REPO / "package.xml").getroot()


def text_of(manifest: ElementTree.Element, tag: str) -> str:
    return (manifest.findtext(tag) or "").strip()


def test_manifest_is_format_3_and_complete(manifest: ElementTree.Element) -> None:
    assert manifest.tag == "package"
    assert manifest.get("format") == "3"
    assert text_of(manifest, "name") == "ism_ros"
    assert re.fullmatch(r"\d+\.\d+\.\d+", text_of(manifest, "version"))
    assert text_of(manifest, "license") == "Apache-2.0"
    assert text_of(manifest, "description")
    assert all("@" in (maintainer.get("email") or "") for maintainer in manifest.findall("maintainer"))
    first = [element.tag for element in manifest if element.tag in REP_149_FIRST]
    assert first == sorted(first, key=REP_149_FIRST.index)


def test_manifest_passes_catkin_pkg() -> None:
    package = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    package.parse_package(str(REPO / "package.xml"), warnings=warnings)
    assert warnings == []


def test_manifest_makes_an_ament_cmake_interface_package(manifest: ElementTree.Element) -> None:
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert text_of(manifest, "member_of_group") == "rosidl_interface_packages"
    assert (REPO / "LICENSE").read_text().lstrip().startswith("Apache License")


def test_versions_agree(manifest: ElementTree.Element) -> None:
    version = text_of(manifest, "version")
    project = re.search(r'^version = "(.*)"$', (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = re.search(r"^(\d+\.\d+\.\d+) \(", (REPO / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert project
    assert changelog
    assert project[1] == changelog[1] == version


def test_every_interface_is_generated_and_depends_on_declared_packages(manifest: ElementTree.Element) -> None:
    cmake = (REPO / "CMakeLists.txt").read_text()
    declared = {element.text for element in manifest if element.tag in ("depend", "build_depend")}
    files = [*(REPO / "msg").glob("*.msg"), *(REPO / "srv").glob("*.srv")]
    assert files
    for file in files:
        assert f'"{file.parent.name}/{file.name}"' in cmake
        used = set(re.findall(r"^([a-z_]+)/[A-Z]", file.read_text(), re.MULTILINE))
        assert used <= declared, file.name


def test_every_ros_import_is_declared(manifest: ElementTree.Element) -> None:
    declared = {element.text for element in manifest if element.tag in ("depend", "exec_depend")}
    ros = {"rclpy", "cv_bridge", "message_filters", "launch", "launch_ros"}
    imported: set[str] = set()
    for file in [*(REPO / "ism_ros").rglob("*.py"), *LAUNCH_FILES]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            imported |= {name.split(".")[0] for name in names}
    used = {name for name in imported if name in ros or name.endswith(("_msgs", "_interfaces"))}
    assert used <= declared


def test_scripts_are_installed_and_executable() -> None:
    cmake = (REPO / "CMakeLists.txt").read_text()
    for script in (REPO / "scripts").iterdir():
        assert script.stat().st_mode & 0o111, script.name
        assert f"scripts/{script.name}" in cmake
        assert script.read_text().startswith("#!/usr/bin/env python3\n")


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_arguments_are_described(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert any(isinstance(node, ast.FunctionDef) and node.name == "generate_launch_description" for node in tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument":
            assert "description" in {keyword.arg for keyword in node.keywords}, f"line {node.lineno}"
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS":
            for name, (_, description) in ast.literal_eval(node.value).items():
                assert description, name


def test_fast_dds_profile_holds_an_image() -> None:
    root = ElementTree.parse(REPO / "config" / "fastdds.xml").getroot()
    space = {"f": root.tag.split("}")[0].strip("{")}
    participant = root.find("f:participant", space)
    assert participant is not None
    assert participant.get("is_default_profile") == "true"
    assert participant.findtext("f:rtps/f:useBuiltinTransports", namespaces=space) == "false"
    ids = [element.text for element in root.findall(".//f:transport_descriptor/f:transport_id", space)]
    used = [element.text for element in participant.findall(".//f:userTransports/f:transport_id", space)]
    assert sorted(filter(None, ids)) == sorted(filter(None, used))
    full_hd_bytes = 1920 * 1080 * 3
    assert int(root.findtext(".//f:maxMessageSize", namespaces=space) or 0) > full_hd_bytes
    assert int(root.findtext(".//f:segment_size", namespaces=space) or 0) > 5 * full_hd_bytes


def test_rviz_configuration_shows_the_nodes_topics() -> None:
    displays = yaml.safe_load((REPO / "config" / "ism.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert {"/ism/overlay", "/ism/mask_image", "/ism/markers", "/ism/points"} <= topics
    # a person may not have any other plugins
    assert {display["Class"].split("/")[0] for display in displays} == {"rviz_default_plugins"}


def test_examples_are_installed_and_executable() -> None:
    cmake = (REPO / "CMakeLists.txt").read_text()
    for example in (REPO / "examples").glob("*.py"):
        assert example.stat().st_mode & 0o111, example.name
        assert f"examples/{example.name}" in cmake
        assert example.read_text().startswith("#!/usr/bin/env python3\n")


def test_the_demo_launch_file_shows_the_table_of_make_demo() -> None:
    text = (REPO / "launch" / "demo.launch.py").read_text()
    assert f'"scene": ("{DEMO_SCENE}",' in text
    assert f'"object_set": ("{DEMO_OBJECT_SET}",' in text


def test_the_wheel_holds_the_page_of_the_server_and_not_its_sources(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(REPO / name, source)
    shutil.copytree(REPO / "ism_ros" / "server", source / "ism_ros" / "server")
    (source / "ism_ros" / "__init__.py").touch()
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "/server/web/" in name}
    page = REPO / "ism_ros" / "server" / "web"
    assert packed == {file.name for file in page.iterdir() if file.suffix in (".html", ".css", ".js", ".svg")}
    assert "main.js" in packed


def test_every_script_of_the_page_has_its_source() -> None:
    page = REPO / "ism_ros" / "server" / "web"
    assert {file.stem for file in page.glob("*.js")} == {file.stem for file in page.glob("*.ts")}
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", (page / "index.html").read_text())
