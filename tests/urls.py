from django.contrib import admin
from django.urls import path

from tests.browser import csp

urlpatterns = [path("admin/", admin.site.urls), path("csp-report/", csp.report)]
