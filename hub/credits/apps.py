from django.apps import AppConfig


class CreditsConfig(AppConfig):
    name = "hub.credits"
    label = "credits"
    verbose_name = "Credits"
