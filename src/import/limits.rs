//! Limits of what is read: a file of rubbish ends in a message, not in a full memory or a deep stack.

/// Longest file, in octets. The longest that is known in the field has some 400 KiB.
pub const FILE_OCTETS_MAX: usize = 4 << 20;

/// Files that are read, included ones counted each time.
pub const FILES_MAX: usize = 256;

/// Files within files.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// Longest text in quotation marks, in octets, also after its substitutions.
pub const TEXT_OCTETS_MAX: usize = 65_536;

/// Names of `#!define` at a time.
pub const DEFINES_MAX: usize = 8_192;

/// Substitutions of `#!subst` and `#!substdef`.
pub const SUBSTITUTIONS_MAX: usize = 256;

/// Compiled size of the regular expression of one of them, in octets.
pub const REGEX_OCTETS_MAX: usize = 1 << 20;

/// Names within the texts of names.
pub const MACRO_DEPTH_MAX: usize = 16;

/// Tokens of all files together, those that names stand for included.
pub const TOKENS_MAX: usize = 1_000_000;

/// Blocks, brackets and operators within each other.
pub const NESTING_MAX: usize = 100;

/// Routes of a configuration.
pub const ROUTES_MAX: usize = 2_000;

/// Parameters of modules, and settings of the core, each.
pub const PARAMS_MAX: usize = 5_000;

/// Things that the report tells; the others are counted.
pub const ITEMS_MAX: usize = 2_000;
