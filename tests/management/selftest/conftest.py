from tests.fixtures import isolation, open_database, transactional_db

__all__ = ["isolation", "open_database", "transactional_db"]
