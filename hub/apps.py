from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"
    verbose_name = "Work"

    def ready(self) -> None:
        from django.contrib.auth.models import User
        from django.db.models.signals import m2m_changed, post_migrate, post_save

        from hub import roles, schedule
        from hub.flows import case_block, case_note, issue_to_credit, observe, order_to_cash, register, support_case, sweep
        from hub.people import conflicts

        register(order_to_cash.FLOW, observe.FLOW, sweep.FLOW, support_case.FLOW, support_case.PARTY)
        register(issue_to_credit.FLOW, case_block.FLOW, case_note.FLOW)
        post_migrate.connect(roles.install)
        m2m_changed.connect(conflicts.guard, sender=User.groups.through)
        post_migrate.connect(schedule.install)
        post_save.connect(schedule.follow, sender="connectors.Connection")
