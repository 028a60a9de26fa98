//! Walks over indexes that are right, cut off and broken.
