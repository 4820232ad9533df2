"""The Gateway over Stripe's own SDK: raw requests, no retries, our keys, a pinned version."""

from collections.abc import Mapping
from typing import Any

import stripe

from tinko_pipelines.gateway.port import RequestRate, refused_resource, resource_of
from tinko_pipelines.gateway.records import Answer

API_VERSION = "2026-10-28.endive"
MOST_WAIT_SECONDS = 10.0
"""For leave to send a request; what waits longer is left for later, since leases run meanwhile."""
MOST_READS = 3
MOST_BACK_OFF_SECONDS = 3600.0
"""However long a time Stripe, or a proxy before it, names: it holds up every request of every process."""
_PAUSE_SECONDS = 1.0
"""After "too many requests" without a time."""


class StripeGateway:
    """One account through one key. Shared by threads; the SDK keeps one HTTP session for each."""

    def __init__(
        self,
        key: str,
        api_base: str,
        account_id: str,
        connected_account: str | None = None,
        timeout_seconds: float = 25,
        rate: RequestRate | None = None,
    ) -> None:
        self.account_id = account_id
        self.livemode = key.startswith(("sk_live_", "rk_live_"))
        self.api_version = API_VERSION
        self._rate = rate
        self._client = stripe.StripeClient(
            key,
            stripe_account=connected_account,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")},
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout_seconds),
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Read one object or one list; again where Stripe had too many requests, since reading is safe."""
        for _ in range(MOST_READS - 1):
            answer = self._request("get", path, dict(params or {}))
            if answer.http_status != 429 or self._rate is None:
                return answer
        return self._request("get", path, dict(params or {}))

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        """Write once under `idempotency_key`, speaking `api_version`."""
        options = {"idempotency_key": idempotency_key, "stripe_version": api_version}
        return self._request("post", path, {**params, **options})

    def _request(self, method: str, path: str, params: dict[str, Any]) -> Answer:
        if self._rate is not None:
            wait_seconds = self._rate.acquire(MOST_WAIT_SECONDS, resource=resource_of(path))
            if wait_seconds:
                return Answer(
                    429, message="our own request budget is used up", retry_after_seconds=wait_seconds
                )
        answer = self._send(method, path, params)
        if answer.http_status == 429 and self._rate is not None:
            resource = refused_resource(answer.rate_limited_reason, path)
            self._rate.back_off(answer.retry_after_seconds or _PAUSE_SECONDS, resource=resource)
        return answer

    def _send(self, method: str, path: str, params: dict[str, Any]) -> Answer:
        try:
            response = self._client.raw_request(method, path, max_network_retries=0, **params)
        except stripe.APIConnectionError as error:
            # Only the kind of fault: the text of some quotes the header that holds the key.
            cause = type(error.__context__ or error).__name__
            return Answer(None, transport_error=f"connection: {cause}")
        except stripe.StripeError as error:
            return _refusal(error)
        except Exception as error:  # a fault below the SDK says nothing about what Stripe did
            return Answer(None, transport_error=type(error).__name__)
        headers = _headers(response.headers)
        body = response.data if isinstance(response.data, dict) else None
        return Answer(
            response.code,
            body,
            request_id=headers.get("request-id"),
            replayed=headers.get("idempotent-replayed") == "true",
        )


def _headers(raw: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(raw or {}).items()}


def _refusal(error: stripe.StripeError) -> Answer:
    body = error.json_body if isinstance(error.json_body, dict) else None
    if error.http_status is None or body is None or not isinstance(body.get("error"), dict):
        if error.http_status is None or error.http_status < 400:
            return Answer(None, transport_error="the answer could not be read")
        return Answer(error.http_status, None, message="the answer could not be read")
    detail = body["error"]
    headers = _headers(error.headers)
    return Answer(
        error.http_status,
        body,
        error_type=detail.get("type"),
        error_code=detail.get("code"),
        decline_code=detail.get("decline_code"),
        advice_code=detail.get("advice_code"),
        network_advice_code=detail.get("network_advice_code"),
        network_decline_code=detail.get("network_decline_code"),
        message=detail.get("message"),
        request_id=headers.get("request-id"),
        replayed=headers.get("idempotent-replayed") == "true",
        retry_after_seconds=_seconds(headers.get("retry-after")),
        rate_limited_reason=headers.get("stripe-rate-limited-reason"),
    )


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else min(max(0.0, float(text)), MOST_BACK_OFF_SECONDS)
    except ValueError:
        return None
