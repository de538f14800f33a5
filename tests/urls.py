from django.contrib import admin
from django.urls import include, path

from tests.browser import csp

urlpatterns = [
    path("admin/", admin.site.urls),
    path("csp-report/", csp.report),
    path("qorworker/", include("qorworker.urls")),
]
