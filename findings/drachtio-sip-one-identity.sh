#!/usr/bin/env bash
# drachtio-sip 0.6.3 (npm): a parsed P-Asserted-Identity holds one identity. RFC 3325 §9.1 allows two, a SIP and a TEL
# URI, and the TEL URI is what is billed; it is dropped without an error, while a Via of two values comes as two.
# parseUri gives undefined for a TEL URI, and also for a SIP URI whose scheme is in capitals (RFC 3261 §19.1.4: the scheme
# is not case-sensitive).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit drachtio-sip@0.6.3
cat >look.js <<'JS'
const { SipMessage, parser } = require('drachtio-sip')
const text = [
  'INVITE sip:bob@example.com SIP/2.0',
  'Via: SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/UDP b.example;branch=z9hG4bK2',
  'From: <sip:anonymous@anonymous.invalid>;tag=1', 'To: <sip:bob@example.com>', 'Call-ID: c1', 'CSeq: 1 INVITE',
  'P-Asserted-Identity: "Alice" <sip:alice@example.com>, <tel:+15550100>', 'Content-Length: 0', '', ''
].join('\r\n')
const message = new SipMessage(text)
const seen = {
  vias: message.getParsedHeader('via').length,
  identity: message.getParsedHeader('p-asserted-identity').uri,
  hasSecond: JSON.stringify(message.getParsedHeader('p-asserted-identity')).includes('+15550100'),
  tel: String(parser.parseUri('tel:+15550100')),
  capitals: String(parser.parseUri('SIP:alice@example.com')),
  small: parser.parseUri('sip:alice@example.com').user
}
console.log(seen)
const want = { vias: 2, identity: 'sip:alice@example.com', hasSecond: false, tel: 'undefined', capitals: 'undefined', small: 'alice' }
if (JSON.stringify(seen) !== JSON.stringify(want)) { console.error('this has changed'); process.exit(1) }
JS
node look.js
