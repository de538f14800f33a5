"""The example project is its admin; the front page leads there."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("qorworker/", include("qorworker.urls")),  # the addresses of callbacks
]
