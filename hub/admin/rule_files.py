"""Rules and mappings as CSV, by names people know rather than ids. A file only makes drafts; a person approves them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from import_export import fields, resources
from import_export.widgets import DateWidget, ForeignKeyWidget, JSONWidget

from canonical.models import ExternalRef, LegalEntity, Product
from connectors.models import Connection
from hub.models import AccountingRule, CodeMapping
from hub.sheets import FORMULA

MOST_ROWS = 5_000


def harmless(value: Any) -> Any:
    """A cell no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def as_written(value: Any) -> Any:
    """A cell without the mark `harmless` put before it."""
    return value[1:] if isinstance(value, str) and value.startswith("'") and value[1:].startswith(FORMULA) else value


class Named(ForeignKeyWidget):  # type: ignore[misc]
    """A row of a small table by its code; says which codes there are when it is none of them."""

    def clean(self, value: Any, row: Any = None, **options: Any) -> Any:
        try:
            return super().clean(value, row, **options)
        except self.model.DoesNotExist:
            known = ", ".join(self.model.objects.order_by(self.field).values_list(self.field, flat=True)[:20])
            raise ValueError(f"there is no {self.model._meta.verbose_name} {value!r}; there are: {known or 'none'}") from None


class ProductWidget(ForeignKeyWidget):  # type: ignore[misc]
    """A product by its id in any system, or by its name when that is unmistakable."""

    def __init__(self) -> None:
        super().__init__(Product, "name")

    def clean(self, value: Any, row: Any = None, **options: Any) -> Product | None:
        if value in (None, ""):
            return None
        refs = ExternalRef.objects.filter(external_id=value, kind="product", object_kind="product", state="active")
        found = list(Product.objects.filter(pk__in=refs.values("object_id"))[:2]) or list(Product.objects.filter(name=value)[:2])
        if len(found) != 1:
            raise ValueError(f"{'several products are' if found else 'no product is'} called {value!r}: give its id in billing")
        return found[0]

    def render(self, value: Product | None, obj: Any = None, **options: Any) -> str:
        if value is None:
            return ""
        ref = ExternalRef.objects.filter(object_kind="product", object_id=value.pk, kind="product", state="active").first()
        return (ref.external_id or "") if ref else value.name


def _about() -> dict[str, Any]:
    """Columns that are told, and never read back."""
    readonly = ("version", "state", "drafted_by", "approved_by", "approved_at")
    attributes = {"drafted_by": "drafted_by__username", "approved_by": "approved_by__username"}
    return {name: fields.Field(attribute=attributes.get(name, name), column_name=name, readonly=True) for name in readonly}


class DraftResource(resources.ModelResource):  # type: ignore[misc]
    """Rows become drafts: of a new rule, of a new version of one in force, or of the draft there is already."""

    valid_from = fields.Field(attribute="valid_from", column_name="valid_from", widget=DateWidget("%Y-%m-%d"))
    valid_to = fields.Field(attribute="valid_to", column_name="valid_to", widget=DateWidget("%Y-%m-%d"))

    def get_import_fields(self) -> list[Any]:
        return [field for field in super().get_import_fields() if not field.readonly]

    def before_import(self, dataset: Any, **options: Any) -> None:
        if len(dataset) > MOST_ROWS:
            raise ValueError(f"a file has at most {MOST_ROWS} rows")

    def before_import_row(self, row: Any, **options: Any) -> None:
        for name in list(row):
            row[name] = as_written(row[name])

    def get_instance(self, instance_loader: Any, row: Any) -> Any:
        return self._of_scope(row).filter(state="draft").order_by("-version").first()

    def import_instance(self, instance: Any, row: Any, **options: Any) -> None:
        super().import_instance(instance, row, **options)
        # Whoever wrote the words last is the maker, so that another person checks exactly these.
        instance.drafted_by = options["user"]
        if instance.pk is None:
            instance.replaces = self._in_force(row)
            instance.version = instance.replaces.version + 1 if instance.replaces else 1

    def validate_instance(self, instance: Any, import_validation_errors: Any = None, validate_unique: bool = True) -> None:
        errors = dict(import_validation_errors or {})
        try:
            # The state moves by transitions alone, and cleaning a field assigns it.
            instance.full_clean(exclude={*errors, "state"}, validate_unique=validate_unique)
        except ValidationError as invalid:
            errors = invalid.update_error_dict(errors)
        if errors:
            raise ValidationError(errors)

    def skip_row(self, instance: Any, original: Any, row: Any, import_validation_errors: Any = None) -> bool:
        current = self._in_force(row)
        if current is not None and all(getattr(current, name) == getattr(instance, name) for name in self._meta.model.SAYS):
            return True
        return bool(super().skip_row(instance, original, row, import_validation_errors))

    def export_field(self, field: Any, instance: Any, **options: Any) -> Any:
        return harmless(super().export_field(field, instance, **options))

    def _of_scope(self, row: Any) -> Any:
        wanted = {name: self.fields[name].clean(row) for name in self._meta.model.SCOPE}
        return self._meta.model.objects.filter(**{name: value or self._empty(name) for name, value in wanted.items()})

    def _empty(self, name: str) -> Any:
        return None if self._meta.model._meta.get_field(name).is_relation else ""

    def _in_force(self, row: Any) -> Any:
        return self._of_scope(row).filter(state="active", replaced_by=None).order_by("-version").first()


class MappingResource(DraftResource):
    """Code mappings."""

    source = fields.Field(attribute="source", column_name="source", widget=Named(Connection, "slug"))
    target = fields.Field(attribute="target", column_name="target", widget=Named(Connection, "slug"))
    locals().update(_about())

    class Meta:
        model = CodeMapping
        import_id_fields = ("what", "source", "source_code", "target")
        import_fields = ("what", "source", "source_code", "target", "target_code", "valid_from", "valid_to")
        fields = (*import_fields, "version", "state", "drafted_by", "approved_by", "approved_at")
        use_transactions = report_skipped = True


class AccountingRuleResource(DraftResource):
    """Accounting rules."""

    legal_entity = fields.Field(attribute="legal_entity", column_name="legal_entity", widget=Named(LegalEntity, "code"))
    product = fields.Field(attribute="product", column_name="product", widget=ProductWidget())
    dimensions = fields.Field(attribute="dimensions", column_name="dimensions", widget=JSONWidget(), default=dict)
    locals().update(_about())

    class Meta:
        model = AccountingRule
        import_id_fields = ("legal_entity", "product", "product_family", "region")
        import_fields = (
            "legal_entity",
            "product",
            "product_family",
            "region",
            "revenue_account",
            "deferred_account",
            "tax_code",
            "journal",
            "dimensions",
            "valid_from",
            "valid_to",
        )
        fields = (*import_fields, "version", "state", "drafted_by", "approved_by", "approved_at")
        use_transactions = report_skipped = True
