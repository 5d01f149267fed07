"""The node alone.

    ros2 launch ism_ros ism.launch.py objects_file:=/path/to/objects.yaml \\
        rgb:=/camera/color/image_raw depth:=/camera/depth/image_raw camera_info:=/camera/color/camera_info
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

TOPICS = ("rgb", "depth", "camera_info")
# Subscribed to, but remapped only where given.
OPTIONAL_TOPICS = ("depth_camera_info",)
# Arguments that stand for a parameter of the same name. Empty: as in params_file.
PARAMETERS = (
    "device",
    "objects_file",
    "profile",
    "segmentor",
    "descriptor",
    "rgb_transport",
    "depth_transport",
    "rectified",
)
SWITCHES = ("autostart", "use_sim_time")


def share(*parts: str) -> PathJoinSubstitution:
    """Return a path in the package's share folder."""
    return PathJoinSubstitution([FindPackageShare("ism_ros"), *parts])


def declare_arguments() -> list[LaunchDescriptionEntity]:
    """Declare all arguments, with their meaning."""
    return [
        DeclareLaunchArgument(
            "params_file", default_value=share("config", "ism.yaml"), description="YAML file with the node's parameters"
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node"),
        DeclareLaunchArgument("name", default_value="ism", description="Name of the node"),
        DeclareLaunchArgument("rgb", default_value="rgb", description="Topic of the color image"),
        DeclareLaunchArgument(
            "depth", default_value="depth", description="Topic of the depth image, registered to the color image"
        ),
        DeclareLaunchArgument(
            "camera_info", default_value="camera_info", description="Topic of the color image's calibration"
        ),
        DeclareLaunchArgument(
            "depth_camera_info",
            default_value="",
            description="Topic of the depth camera's calibration, where depth is not registered to the color image",
        ),
        DeclareLaunchArgument(
            "objects_file", default_value="", description="YAML file with the objects to find; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "device", default_value="", description="auto, cpu or cuda:0, where models run; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "profile",
            default_value="",
            description="embedded, fast, balanced or accurate models; empty: as in params_file",
        ),
        DeclareLaunchArgument(
            "segmentor", default_value="", description="What proposes masks; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "descriptor", default_value="", description="What describes their contents; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "rgb_transport", default_value="", description="raw or compressed; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "depth_transport", default_value="", description="raw, compressed_depth or none; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "rectified",
            default_value="",
            description="raw or rectified: whether the lens was taken out of the images; empty: as in params_file",
        ),
        DeclareLaunchArgument(
            "autostart", default_value="", description="true: configure and activate at start; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="", description="true: take the time from /clock; empty: as in params_file"
        ),
        DeclareLaunchArgument(
            "log_level", default_value="info", description="Least severity logged: debug, info, warn, error or fatal"
        ),
        DeclareLaunchArgument(
            "respawn", default_value="false", description="true: start the node again when it ends by itself"
        ),
    ]


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start the node, with those parameters that an argument gives."""
    from ism_ros.node.launching.launch_parts import end_with_launch

    given = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *SWITCHES)}
    parameters: dict[str, object] = {name: given[name] for name in PARAMETERS if given[name]}
    for name in SWITCHES:
        if given[name] not in ("", "true", "false"):
            raise ValueError(f"{name} is true or false, not {given[name]!r}")
        if given[name]:
            parameters[name] = given[name] == "true"
    optional = [topic for topic in OPTIONAL_TOPICS if LaunchConfiguration(topic).perform(context)]
    node = Node(
        package="ism_ros",
        executable="ism_node",
        namespace=LaunchConfiguration("namespace"),
        name=LaunchConfiguration("name"),
        parameters=[LaunchConfiguration("params_file"), parameters],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in (*TOPICS, *optional)],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("respawn").perform(context) == "true",
        respawn_delay=2.0,
        prefix=end_with_launch(),
        exec_name="ism_node",  # in the log, instead of the prefix's
        output="screen",
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    """Return the actions: transports first, so that they reach the node."""
    transport = IncludeLaunchDescription(PythonLaunchDescriptionSource(share("launch", "transport.launch.py")))
    return LaunchDescription([*declare_arguments(), transport, OpaqueFunction(function=start_node)])
