//! Administration: metrics, health, commands.
