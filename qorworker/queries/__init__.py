"""The queries of pages and metrics, bounded in rows whatever the tables hold. Web, commands."""
