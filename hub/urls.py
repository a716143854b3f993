"""The map of the site: doors for machines, the back office for people."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("hub.doors.urls")),
    path("accounts/", include("hub.people.urls")),
    path("admin/", admin.site.urls),
]
