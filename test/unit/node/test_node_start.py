"""A node that cannot start says so in one line, with what to do."""

import os
import subprocess
import sys


def test_a_library_that_fails_to_import_with_several_lines_is_told_with_what_to_do(tmp_path):
    text = "libfoo.so is not there\\nread the manual"
    (tmp_path / "torch.py").write_text(f'raise ImportError("{text}")\n')
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "ism_ros.node.main"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "ism_node: the node cannot be loaded (ImportError: libfoo.so is not there): "
        "`ism doctor` looks for what is wrong\n"
    )
