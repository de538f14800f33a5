"""The addresses outside of the admin: ``path("qorworker/", include("qorworker.urls"))``. Web."""

from django.urls import path

from qorworker import views

app_name = "qorworker"
urlpatterns = [path("callback/<str:token>/", views.callback, name="callback")]
