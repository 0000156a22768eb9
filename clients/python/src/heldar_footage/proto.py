"""Every message and enum of the contract, under one name. Their comments are the manual."""

from heldar.footage.v1.archive_pb2 import *  # noqa: F403
from heldar.footage.v1.archive_resources_pb2 import *  # noqa: F403
from heldar.footage.v1.backup_destination_pb2 import *  # noqa: F403
from heldar.footage.v1.backup_pb2 import *  # noqa: F403
from heldar.footage.v1.backup_policy_pb2 import *  # noqa: F403
from heldar.footage.v1.backup_resources_pb2 import *  # noqa: F403
from heldar.footage.v1.catalog_pb2 import *  # noqa: F403
from heldar.footage.v1.catalog_resources_pb2 import *  # noqa: F403
from heldar.footage.v1.clip_pb2 import *  # noqa: F403
from heldar.footage.v1.clip_resources_pb2 import *  # noqa: F403
from heldar.footage.v1.common_pb2 import *  # noqa: F403
from heldar.footage.v1.error_pb2 import *  # noqa: F403
from heldar.footage.v1.job_pb2 import *  # noqa: F403
