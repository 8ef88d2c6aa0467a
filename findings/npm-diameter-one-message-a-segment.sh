#!/usr/bin/env bash
# diameter 0.7.0 (npm): a server handles one message for each piece of data that its socket reads. A client that writes
# several requests at once, as any client with a window does, gets one answer; the others stay in the buffer, and each later
# write lets out one more, the oldest. RFC 6733 §2.1: TCP is a stream without message borders.
#
# Seen: three Device-Watchdog-Requests in one write: 1 answer; a fourth, 0.7 s later: 2 in all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit diameter@0.7.0
cat >look.js <<'JS'
const diameter = require('diameter')
const net = require('net')

const avp = (code, text) => {
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 4) * 4)
  padded.writeUInt32BE(code, 0)
  padded.writeUInt32BE(0x40000000 + 8 + text.length, 4)
  padded.write(text, 8)
  return padded
}
const watchdog = id => {
  const avps = Buffer.concat([avp(264, 'client.example.com'), avp(296, 'example.com')])
  const head = Buffer.alloc(20)
  head.writeUInt32BE(0x01000000 + 20 + avps.length, 0)
  head.writeUInt32BE(0x80000118, 4)
  head.writeUInt32BE(id, 12)
  head.writeUInt32BE(id, 16)
  return Buffer.concat([head, avps])
}
const server = diameter.createServer({}, socket => {
  socket.on('error', () => {})
  socket.on('diameterMessage', event => event.callback(event.response))
})
server.listen(0, '127.0.0.1', () => {
  let answers = 0
  const client = net.connect(server.address().port, '127.0.0.1', () => {
    client.write(Buffer.concat([watchdog(1), watchdog(2), watchdog(3)]))
    setTimeout(() => {
      const first = answers
      client.write(watchdog(4))
      setTimeout(() => {
        console.log(`three requests in one write: ${first} answered; after a fourth: ${answers}`)
        process.exit(first === 1 && answers === 2 ? 0 : 1)
      }, 700)
    }, 700)
  })
  client.on('data', data => { for (let at = 0; at < data.length; at += data.readUInt32BE(at) & 0xffffff) answers++ })
})
JS
node look.js || { echo "this has changed" >&2; exit 1; }
