from tests.fixtures import ledger, open_database, start, transactional_db

__all__ = ["ledger", "open_database", "start", "transactional_db"]
