"""Message filters: bring together what belongs together in time.

The public Python interface of the ROS package of this name. The real package, where it is installed,
takes its place.
"""

from .cache import Cache
from .chain import Chain
from .message_traits import get_time_from_message_header
from .sequencer import TimeSequencer
from .simple_filter import SimpleFilter
from .subscriber import Subscriber
from .synchronizers import ApproximateTimeSynchronizer, TimeSynchronizer

__all__ = [
    "ApproximateTimeSynchronizer",
    "Cache",
    "Chain",
    "SimpleFilter",
    "Subscriber",
    "TimeSequencer",
    "TimeSynchronizer",
    "get_time_from_message_header",
]
