"""When things run: jobs, schedules and sensors. A sensor's body only looks; the job it starts does the work."""

from sensors.jobs import JOBS as WORK
from sensors.retention import retention_job, weekly_retention
from sensors.schedules import SCHEDULES as BEATS
from sensors.watch import SENSORS

JOBS = [*WORK, retention_job]
SCHEDULES = [*BEATS, weekly_retention]

__all__ = ["JOBS", "SCHEDULES", "SENSORS"]
