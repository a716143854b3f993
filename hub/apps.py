from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"

    def ready(self) -> None:
        from hub import checks  # noqa: F401  (registers the system checks)
        from hub.flows import observe, order_to_cash, register, sweep

        register(order_to_cash.FLOW, observe.FLOW, sweep.FLOW)
