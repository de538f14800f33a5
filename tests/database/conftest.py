from tests.fixtures import open_database, transactional_db

__all__ = ["open_database", "transactional_db"]
