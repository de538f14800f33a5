"""The view that Prometheus asks. Web."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from qorworker.contrib.prometheus.collector import registry
from qorworker.contrib.watched import log_unavailable, without_transaction

View = Callable[[HttpRequest], HttpResponse]


def metrics_view(*, token: str | None) -> View:
    """Return a view with the figures.

    :param token: what the header ``Authorization: Bearer …`` has to say; None: everybody may read the figures, which
        name queues and job types, so something before the site has to keep others away.
    :raises django.core.exceptions.ImproperlyConfigured: if the token is empty, as that of a missing variable may be.
    """
    if token is not None and not token.strip():
        raise ImproperlyConfigured("metrics_view(token=…) is empty. Give it a secret, or None to let everybody read.")
    exported = registry()

    @without_transaction
    @require_safe
    @never_cache
    def metrics(request: HttpRequest) -> HttpResponse:
        if token is not None and not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        try:
            return HttpResponse(encode(exported), content_type=content_type)
        except Error as error:
            unavailable = HttpResponse(status=503)
            log_unavailable(request, unavailable, f"the database: {error}")
            return unavailable

    return metrics
