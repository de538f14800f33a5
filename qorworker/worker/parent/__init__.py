"""The parent of a worker: claims, hands out, hears, writes. It never imports what runs a handler."""
