from django.apps import AppConfig


class ReconciliationConfig(AppConfig):
    name = "reconciliation"
    verbose_name = "Reconciliation"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate, post_save

        from hub import bench
        from hub.flows import register
        from hub.runtime import chapters
        from reconciliation.mending import mend_flow, restate_flow
        from reconciliation.scanning import scan_flow, schedule

        register(scan_flow.FLOW, mend_flow.FIRST, mend_flow.FLOW, restate_flow.FLOW)
        bench.register("reconcile", "reconciliation.bench")
        chapters.register("reconciliation.demo")
        post_migrate.connect(schedule.install)
        post_save.connect(schedule.follow, sender="connectors.Connection")
