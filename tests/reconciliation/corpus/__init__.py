"""A labelled corpus: cases made from a seed, each with the break that must be found in it, or none.

Cases of every type of break, size and currency, and for each what looks like it and is none. Two seeds choose other
customers, amounts, dates, currencies and proportions. It is what shows that matching finds everything and nothing else.
"""

from tests.reconciliation.corpus import credits, documents, masters, payments, subscriptions  # noqa: F401  (they add their cases)
from tests.reconciliation.corpus.making import AS_OF, CLOSED_UNTIL, CURRENCIES, Case, Corpus, Label, found

__all__ = ["AS_OF", "CLOSED_UNTIL", "CURRENCIES", "Case", "Corpus", "Label", "found"]
