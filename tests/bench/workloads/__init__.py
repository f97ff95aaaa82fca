"""What is measured: the table of all workloads, a file for each family of them."""

from __future__ import annotations

from typing import Final

from tests.bench.workloads import data, mounting, small, trees
from tests.bench.workloads.base import Workload

WORKLOADS: Final[tuple[Workload, ...]] = (*data.WORKLOADS, *small.WORKLOADS, *trees.WORKLOADS, *mounting.WORKLOADS)
