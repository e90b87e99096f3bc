//! Whether what lies on the volumes is what the index says.
