//! The flag M: which AVPs carry it.
//!
//! A server refuses a record (5001) with an M that its command's grammar does not name, even if its dictionary has the
//! AVP. RFC 6733 §1.3.4 forbids to add AVPs with M to an existing application, so that in base accounting only what the
//! grammar of the ACR names (§9.7.1) has it. Rf is an application with a grammar of its own (TS 32.299 §6.4.2).

use super::settings::{Application, Settings};
use super::target::Finder;
use crate::diameter::avp::flag;
use crate::diameter::code;

/// AVPs without which there is no ACR, or no way to a server: they keep M (RFC 6733 §4.5, §9.8).
const REQUIRED: [u32; 7] = [
    code::SESSION_ID,
    code::ORIGIN_HOST,
    code::ORIGIN_REALM,
    code::DESTINATION_REALM,
    code::ACCOUNTING_RECORD_TYPE,
    code::ACCOUNTING_RECORD_NUMBER,
    code::ACCT_APPLICATION_ID,
];

/// Further AVPs that the grammar of the ACR names (RFC 6733 §9.7.1).
const NAMED: [u32; 11] = [
    code::VENDOR_SPECIFIC_APPLICATION_ID,
    code::USER_NAME,
    code::DESTINATION_HOST,
    code::ACCOUNTING_SUB_SESSION_ID,
    code::ACCT_SESSION_ID,
    code::ACCT_MULTI_SESSION_ID,
    code::ACCT_INTERIM_INTERVAL,
    code::ACCOUNTING_REALTIME_REQUIRED,
    code::ORIGIN_STATE_ID,
    code::EVENT_TIMESTAMP,
    code::ROUTE_RECORD,
];

/// What a record may have besides the fields, in either application.
const OURS: [u32; 9] = [
    code::USER_NAME,
    code::DESTINATION_HOST,
    code::ACCOUNTING_SUB_SESSION_ID,
    code::ACCT_SESSION_ID,
    code::ACCT_MULTI_SESSION_ID,
    code::ORIGIN_STATE_ID,
    code::EVENT_TIMESTAMP,
    code::CLASS,
    super::base::SERVICE_TYPE,
];

/// The same in base accounting alone.
const OURS_IN_BASE: [u32; 2] = [code::TERMINATION_CAUSE, code::ACCT_SESSION_TIME];

/// Who has M.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    application: Application,
    mandatory: Vec<(u32, u32)>,
    optional: Vec<(u32, u32)>,
}

impl Marks {
    pub(super) fn new(application: Application, mandatory: Vec<(u32, u32)>, optional: Vec<(u32, u32)>) -> Self {
        Self { application, mandatory, optional }
    }

    /// The flags of an AVP whose definition gives it `usual`.
    pub(super) fn flags(&self, vendor: u32, code: u32, usual: u8) -> u8 {
        if self.optional.contains(&(vendor, code)) {
            return usual & !flag::MANDATORY;
        }
        if self.mandatory.contains(&(vendor, code)) {
            return usual | flag::MANDATORY;
        }
        let is_named = vendor == 0 && (REQUIRED.contains(&code) || NAMED.contains(&code));
        if self.application == Application::Base && !is_named { usual & !flag::MANDATORY } else { usual }
    }

    /// The flags of an AVP that RFC 6733 or TS 32.299 gives M.
    pub(super) fn m(&self, vendor: u32, code: u32) -> u8 {
        self.flags(vendor, code, flag::MANDATORY)
    }

    /// Why M of this AVP cannot be changed, if so; `used` are the AVPs of fields.
    pub(super) fn refusal(&self, vendor: u32, code: u32, used: &[(u32, u32)]) -> Option<&'static str> {
        if vendor == 0 && REQUIRED.contains(&code) {
            let is_off = self.optional.contains(&(vendor, code));
            return is_off.then_some("every Accounting-Request needs it with M (RFC 6733 sections 4.5 and 9.8)");
        }
        let is_base = self.application == Application::Base;
        let ours = vendor == 0 && (OURS.contains(&code) || (is_base && OURS_IN_BASE.contains(&code)));
        let is_sent = ours || used.contains(&(vendor, code)) || (!is_base && super::rf::writes(vendor, code));
        (!is_sent).then_some("records of this sink have no such AVP, so that its flag changes nothing")
    }
}

/// The flags that an echoed Class has: M only by configuration, for no grammar of an ACR names it.
#[must_use]
pub fn class_flags(settings: &Settings) -> u8 {
    Finder::new(settings).marks().flags(0, code::CLASS, 0)
}
