from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"
    verbose_name = "Work"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate, post_save

        from hub import roles, schedule
        from hub.flows import observe, order_to_cash, register, sweep

        register(order_to_cash.FLOW, observe.FLOW, sweep.FLOW)
        post_migrate.connect(roles.install)
        post_migrate.connect(schedule.install)
        post_save.connect(schedule.follow, sender="connectors.Connection")
