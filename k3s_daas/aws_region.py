"""The AWS region: as AWS documents it for its SDKs, of which boto3 reads the second variable only.

Rule: docs.aws.amazon.com/sdkref/latest/guide/feature-region.html.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

NO_REGION = "no AWS region is set: set AWS_REGION (or AWS_DEFAULT_REGION) to that of the KMS keys"


def region_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the environment says, or None: then a profile may still name one."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None
