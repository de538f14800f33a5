"""The content security policy of the test project where Django has no middleware, and what browsers report."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

reports: list[str] = []


class PolicyMiddleware:
    """Django has its own since 6.0."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = (f"{name} {' '.join(values)}" for name, values in settings.SECURE_CSP.items())
        response["Content-Security-Policy"] = "; ".join(policy)
        return response


@csrf_exempt
def report(request: HttpRequest) -> HttpResponse:
    reports.append(request.body.decode(errors="replace"))
    return HttpResponse(status=204)
