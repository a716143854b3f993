"""Users, the roles they have, and what may be scheduled. Only a superuser makes superusers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskForm, TaskSelectWidget
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from hub.admin_ui import Admin, ReadOnlyAdmin, when
from hub.people.conflicts import conflicts

for replaced in (User, Group, PeriodicTask, IntervalSchedule, CrontabSchedule, ClockedSchedule, SolarSchedule):
    if admin.site.is_registered(replaced):
        admin.site.unregister(replaced)


class PersonForm(UserChangeForm):  # type: ignore[misc]
    """A person; roles that clash are refused before anything is saved."""

    def clean_groups(self) -> Any:
        groups = self.cleaned_data["groups"]
        if trouble := conflicts([group.name for group in groups]):
            raise ValidationError(trouble)
        return groups


@admin.register(User)
class UserAdmin(DjangoUserAdmin, Admin):  # type: ignore[type-arg]
    """A person. What they may do is the sum of their roles."""

    form = PersonForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    ordering = ("username",)
    list_display = ("username", "full_name", "email", "roles", "is_staff", "is_active", when("last_login"))
    list_filter = ("is_active", "groups")
    fieldsets = (
        (None, {"fields": ("username", "password", "first_name", "last_name", "email")}),
        ("Roles", {"fields": ("is_active", "is_staff", "groups")}),
    )
    superuser_fieldset = ("Beyond roles", {"fields": ("is_superuser", "user_permissions")})

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        return [*sets, self.superuser_fieldset] if obj is not None and request.user.is_superuser else sets

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return super().has_change_permission(request, obj) and not above

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="name")
    def full_name(self, obj: User) -> str:
        return obj.get_full_name()

    @admin.display(description="roles")
    def roles(self, obj: User) -> str:
        return ", ".join(group.name for group in obj.groups.all())


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ReadOnlyAdmin):
    """A role. What it may do is written in `hub.roles`, not edited."""

    ordering = ("name",)
    list_display = ("name",)

    def describe(self, request: HttpRequest, obj: Group) -> dict[str, Any]:
        permissions = sorted(f"{p.content_type.app_label}.{p.codename}" for p in obj.permissions.select_related("content_type"))
        acting = [name for name in permissions if ".view_" not in name]
        members = ", ".join(user.get_username() for user in User.objects.filter(groups=obj).order_by("username")[:200])
        return {
            "facts": [("Members", members or "nobody")],
            "texts": [("May do, besides looking at everything", "\n".join(acting) or "nothing")],
        }


class TaskWidget(UnfoldAdminSelectWidget, TaskSelectWidget):  # type: ignore[misc]
    """The tasks there are, as a drop-down of the theme."""


class ScheduleForm(PeriodicTaskForm):  # type: ignore[misc]
    """A schedule, with the theme's widgets."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "task" in self.fields:
            self.fields["task"].widget = UnfoldAdminTextInputWidget()
            self.fields["regtask"].widget = TaskWidget()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(Admin):
    """What runs when. Times are UTC."""

    form = ScheduleForm
    ordering = ("name",)
    list_display = ("name", "task", "enabled", "schedule_", when("last_run_at"), "total_run_count")
    list_select_related = ("interval", "crontab", "solar", "clocked")
    list_filter = ("enabled",)
    search_fields = ("name",)
    readonly_fields = ("last_run_at", "total_run_count")
    fieldsets = (
        (None, {"fields": ("name", "regtask", "task", "enabled", "description")}),
        ("When", {"fields": ("interval", "crontab", "start_time", "one_off", "last_run_at", "total_run_count")}),
        ("With", {"fields": ("args", "kwargs")}),
    )

    @admin.display(description="schedule")
    def schedule_(self, obj: Any) -> str:
        return str(obj.interval or obj.crontab or obj.clocked or obj.solar or "")


@admin.register(IntervalSchedule)
class IntervalAdmin(Admin):
    """Every so often."""

    list_display = ("__str__", "every", "period")


@admin.register(CrontabSchedule)
class CrontabAdmin(Admin):
    """At certain times."""

    list_display = ("__str__", "timezone")
