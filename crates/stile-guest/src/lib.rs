//! The guest side: render node, contexts, blobs and sync operations.
