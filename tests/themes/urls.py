from django.conf import settings
from django.urls import include, path

from tests.urls import urlpatterns

if "grappelli" in settings.INSTALLED_APPS:
    urlpatterns = [path("grappelli/", include("grappelli.urls")), *urlpatterns]
