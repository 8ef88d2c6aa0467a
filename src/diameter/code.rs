//! Codes of the AVPs that the base protocol itself uses (RFC 6733 §4.5, §9.8), all without vendor.

/// User-Name: UTF8String, M.
pub const USER_NAME: u32 = 1;
/// Class: OctetString, M.
pub const CLASS: u32 = 25;
/// Session-Timeout: Unsigned32, M.
pub const SESSION_TIMEOUT: u32 = 27;
/// Proxy-State: OctetString, M.
pub const PROXY_STATE: u32 = 33;
/// Acct-Session-Id: OctetString, M.
pub const ACCT_SESSION_ID: u32 = 44;
/// Acct-Session-Time: Unsigned32, M.
pub const ACCT_SESSION_TIME: u32 = 46;
/// Acct-Multi-Session-Id: UTF8String, M.
pub const ACCT_MULTI_SESSION_ID: u32 = 50;
/// Event-Timestamp: Time, M.
pub const EVENT_TIMESTAMP: u32 = 55;
/// Acct-Interim-Interval: Unsigned32 in seconds, M.
pub const ACCT_INTERIM_INTERVAL: u32 = 85;
/// Host-IP-Address: Address, M.
pub const HOST_IP_ADDRESS: u32 = 257;
/// Auth-Application-Id: Unsigned32, M.
pub const AUTH_APPLICATION_ID: u32 = 258;
/// Acct-Application-Id: Unsigned32, M.
pub const ACCT_APPLICATION_ID: u32 = 259;
/// Vendor-Specific-Application-Id: Grouped, M.
pub const VENDOR_SPECIFIC_APPLICATION_ID: u32 = 260;
/// Redirect-Host-Usage: Enumerated, M.
pub const REDIRECT_HOST_USAGE: u32 = 261;
/// Redirect-Max-Cache-Time: Unsigned32 in seconds, M.
pub const REDIRECT_MAX_CACHE_TIME: u32 = 262;
/// Session-Id: UTF8String, M; always the first AVP.
pub const SESSION_ID: u32 = 263;
/// Origin-Host: DiameterIdentity, M.
pub const ORIGIN_HOST: u32 = 264;
/// Supported-Vendor-Id: Unsigned32, M.
pub const SUPPORTED_VENDOR_ID: u32 = 265;
/// Vendor-Id: Unsigned32, M.
pub const VENDOR_ID: u32 = 266;
/// Firmware-Revision: Unsigned32, never M.
pub const FIRMWARE_REVISION: u32 = 267;
/// Result-Code: Unsigned32, M.
pub const RESULT_CODE: u32 = 268;
/// Product-Name: UTF8String, never M.
pub const PRODUCT_NAME: u32 = 269;
/// Disconnect-Cause: Enumerated, M.
pub const DISCONNECT_CAUSE: u32 = 273;
/// Origin-State-Id: Unsigned32, M.
pub const ORIGIN_STATE_ID: u32 = 278;
/// Failed-AVP: Grouped, M.
pub const FAILED_AVP: u32 = 279;
/// Proxy-Host: DiameterIdentity, M.
pub const PROXY_HOST: u32 = 280;
/// Error-Message: UTF8String, never M.
pub const ERROR_MESSAGE: u32 = 281;
/// Route-Record: DiameterIdentity, M.
pub const ROUTE_RECORD: u32 = 282;
/// Destination-Realm: DiameterIdentity, M.
pub const DESTINATION_REALM: u32 = 283;
/// Proxy-Info: Grouped, M.
pub const PROXY_INFO: u32 = 284;
/// Accounting-Sub-Session-Id: Unsigned64, M.
pub const ACCOUNTING_SUB_SESSION_ID: u32 = 287;
/// Redirect-Host: DiameterURI, M.
pub const REDIRECT_HOST: u32 = 292;
/// Destination-Host: DiameterIdentity, M.
pub const DESTINATION_HOST: u32 = 293;
/// Error-Reporting-Host: DiameterIdentity, never M.
pub const ERROR_REPORTING_HOST: u32 = 294;
/// Termination-Cause: Enumerated, M.
pub const TERMINATION_CAUSE: u32 = 295;
/// Origin-Realm: DiameterIdentity, M.
pub const ORIGIN_REALM: u32 = 296;
/// Experimental-Result: Grouped, M.
pub const EXPERIMENTAL_RESULT: u32 = 297;
/// Experimental-Result-Code: Unsigned32, M.
pub const EXPERIMENTAL_RESULT_CODE: u32 = 298;
/// Inband-Security-Id: Unsigned32, M.
pub const INBAND_SECURITY_ID: u32 = 299;
/// Accounting-Record-Type: Enumerated, M.
pub const ACCOUNTING_RECORD_TYPE: u32 = 480;
/// Accounting-Realtime-Required: Enumerated, M.
pub const ACCOUNTING_REALTIME_REQUIRED: u32 = 483;
/// Accounting-Record-Number: Unsigned32, M.
pub const ACCOUNTING_RECORD_NUMBER: u32 = 485;

/// Values of Accounting-Record-Type (RFC 6733 §9.8.1).
pub mod record_type {
    /// A one-time event.
    pub const EVENT: u32 = 1;
    /// A session starts.
    pub const START: u32 = 2;
    /// A session goes on.
    pub const INTERIM: u32 = 3;
    /// A session ended.
    pub const STOP: u32 = 4;
}

/// Values of Disconnect-Cause (RFC 6733 §5.4.3).
pub mod disconnect_cause {
    /// A restart is near.
    pub const REBOOTING: u32 = 0;
    /// The peer needs its resources elsewhere.
    pub const BUSY: u32 = 1;
    /// The peer expects no messages in the near future.
    pub const DO_NOT_WANT_TO_TALK_TO_YOU: u32 = 2;
}

/// Values of Accounting-Realtime-Required (RFC 6733 §9.8.7).
pub mod realtime_required {
    /// Service only while records are delivered.
    pub const DELIVER_AND_GRANT: u32 = 1;
    /// Service while records are delivered or stored.
    pub const GRANT_AND_STORE: u32 = 2;
    /// Service in any case.
    pub const GRANT_AND_LOSE: u32 = 3;
}
