"""The URLs of a project with an admin site that nothing else imports."""

from django.contrib.admin import AdminSite
from django.urls import path

from tests.testapp.admin import ShopAdmin
from tests.testapp.models import Shop

site = AdminSite("own")
site.register(Shop, ShopAdmin)
urlpatterns = [path("own/", site.urls)]
