"""A code location with the product's own jobs and sensors, and nothing else: what the Dagster trials drain with."""

from dagster import Definitions

from resources import TinkoResource
from sensors.jobs import email_job, retry_job
from sensors.watch import due_messages, due_retries
from tinko_pipelines.settings import load_settings

SENSOR_SECONDS = 5

for each in (due_retries, due_messages):
    each._min_interval = SENSOR_SECONDS

defs = Definitions(
    jobs=[retry_job, email_job],
    sensors=[due_retries, due_messages],
    resources={"tinko": TinkoResource(state=str(load_settings().state))},
)
