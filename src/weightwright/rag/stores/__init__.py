"""Knowledge bases behind one contract; each store is imported only when it is opened."""

__all__ = ["base", "filters", "opening", "postgres", "redis", "sqlite"]
