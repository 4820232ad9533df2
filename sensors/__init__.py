"""When things run: jobs, schedules and sensors. A sensor's body only looks; the job it starts does the work."""

from sensors.jobs import JOBS
from sensors.schedules import SCHEDULES
from sensors.watch import SENSORS

__all__ = ["JOBS", "SCHEDULES", "SENSORS"]
