"""Words of column names and behaviours, by what they mean in data of shops, media and social platforms."""

from __future__ import annotations

import re
from collections.abc import Set

Words = Set[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Ends of names of ids.
CODES = ("id", "code", "key", "no", "nr", "number", "hash", "uuid")

USERS = _words(
    "user customer household visitor person member client buyer reviewer author account shopper reader listener viewer subscriber player "
    "student guest passenger consumer follower borrower uid cust"
)
ITEMS = _words(
    "item product sku article content movie film track song book isbn asin stock video listing post business restaurant venue recipe "
    "course game app artist album anime photo news offer good goods upc ean gtin page thread question beer wine place poi podcast show "
    "episode story ad campaign job property hotel clip paper"
)

#: With one of these, a name is about a user or an item, and not its id.
ABOUT = _words(
    "agent region country type age gender sex city name rank count average avg score group segment state zip title description desc "
    "price category text lang language brand color colour size time date url link image email phone quantity class total status level"
)

TIMES = _words("time timestamp date datetime created when ts day occurred at bought purchased added updated started published posted")
LATER_TIMES = _words("updated modified added birth expires expiry deleted shipped delivered edited retrieved")

BEHAVIOURS = _words("event action behaviour behavior activity verb interaction")
RATINGS = _words("rating rate stars star score overall grade")
QUANTITIES = _words("quantity qty units pieces amount count")
PRICES = _words("price unitprice cost")
AMOUNTS = _words("amount total revenue sales value spend paid turnover price sum")
OTHER_VALUES = _words("upvotes votes likes duration seconds minutes plays playcount listens watched score helpful ups")

WRITTEN = _words("review comment body note message feedback opinion reply caption tweet")
FULL, CUT = _words("full complete text body content"), _words("title excerpt summary short head id count date time")
NAMES_OF_ITEMS = _words("title name description desc headline subject text abstract summary body")
PROPERTIES_OF_ITEMS = _words("brand maker manufacturer artist author department category type genre")

#: Words of categories, the likelier first.
CATEGORIES = (
    "category", "categories", "genre", "genres", "subreddit", "aisle", "section", "department", "cuisine", "topic", "class", "subject",
    "group", "family", "channel", "community", "hashtag", "hashtags", "tag", "tags",
)  # fmt: skip

#: Words of behaviours, with the weight of one day.
WEIGHTS = {
    -5.0: _words("return returned refund refunded cancel cancelled canceled cancellation chargeback"),
    -2.0: _words("dislike disliked downvote unlike hide hidden block report thumbsdown"),
    -1.0: _words("remove removed skip skipped unfollow unsubscribe"),
    0.2: _words("impression impressions exposure exposed shown"),
    1.0: _words("view viewed click clicked visit open opened pv read pageview browse detail play played listen watch watched search"),
    2.0: _words("like liked fav favorite favourite upvote love heart thumbsup wishlist"),
    2.5: _words("bookmark bookmarked save saved collect pin pinned"),
    3.0: _words("cart addtocart basket follow followed subscribe share shared retweet repost forward download install post posted"),
    4.0: _words("comment commented reply replied review reviewed rate rated rating answer"),
    5.0: _words("purchase purchased buy bought order ordered transaction checkout pay paid payment sale booking booked rent borrow"),
}

#: Words of files and columns that show that every row is a purchase.
PURCHASES = _words("purchase purchases transaction transactions order orders invoice sales sale basket receipt checkout stock")


def split_name(name: str) -> tuple[str, ...]:
    """Split a name into words in lower case: CustomerID, customer_id and customerid are customer and id."""
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)(?=[A-Z][a-z])", r"\1\3 \2", name)
    words = [word for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    return tuple(part for word in words for part in _split_glued(word.lower()))


def _split_glued(word: str) -> tuple[str, ...]:
    for code in CODES:
        start = word.removesuffix(code)
        if start != word and (start in USERS or start in ITEMS):
            return start, code
    return (word,)


def singular(word: str) -> str:
    """Return the singular of a plain English plural."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def weigh(behaviour_words: tuple[str, ...]) -> float | None:
    """Return the weight of a behaviour; None where no word of it is known. The strongest word decides: "view cart" is a cart."""
    found = [weight for weight, words in WEIGHTS.items() if any(word in words or singular(word) in words for word in behaviour_words)]
    return max(found, key=abs, default=None)


def name_behaviour(words: tuple[str, ...]) -> str | None:
    """Return the behaviour that the words of a file's name say, the last one first: "user_likes" are likes."""
    known = (singular(word) for word in reversed(words))
    return next((word for word in known if any(word in group for group in WEIGHTS.values())), None)
