# AVPs of the NAS application that make sense in accounting (RFC 7155 sections 4.2, 4.4 and 4.6); the other RADIUS
# attributes come from the RADIUS dictionaries without `M`. Addresses have no family prefix (RFC 7155 section 4.2.4).

ATTRIBUTE	NAS-IP-Address                              4       ipaddr            M
ATTRIBUTE	NAS-Port                                    5       Unsigned32        M
ATTRIBUTE	Service-Type                                6       Enumerated        M
VALUE		Service-Type                        Login                                   1
VALUE		Service-Type                        Framed                                  2
VALUE		Service-Type                        Callback-Login                          3
VALUE		Service-Type                        Callback-Framed                         4
VALUE		Service-Type                        Outbound                                5
VALUE		Service-Type                        Administrative                          6
VALUE		Service-Type                        NAS-Prompt                              7
VALUE		Service-Type                        Authenticate-Only                       8
VALUE		Service-Type                        Callback-NAS-Prompt                     9
VALUE		Service-Type                        Call-Check                              10
VALUE		Service-Type                        Callback-Administrative                 11
VALUE		Service-Type                        Voice                                   12
VALUE		Service-Type                        Fax                                     13
VALUE		Service-Type                        Modem-Relay                             14
VALUE		Service-Type                        Sip-Session                             15
ATTRIBUTE	Framed-IP-Address                           8       ipaddr            M
ATTRIBUTE	Filter-Id                                   11      UTF8String        M
ATTRIBUTE	Login-IP-Host                               14      ipaddr            M
ATTRIBUTE	Called-Station-Id                           30      UTF8String        M
ATTRIBUTE	Calling-Station-Id                          31      UTF8String        M
ATTRIBUTE	NAS-Identifier                              32      UTF8String        M
ATTRIBUTE	Acct-Session-Time                           46      Unsigned32        M
ATTRIBUTE	Acct-Link-Count                             51      Unsigned32        M
ATTRIBUTE	NAS-Port-Type                               61      Enumerated        M
ATTRIBUTE	Connect-Info                                77      UTF8String        M
ATTRIBUTE	NAS-Port-Id                                 87      UTF8String        M
ATTRIBUTE	NAS-IPv6-Address                            95      ipv6addr          M
ATTRIBUTE	Accounting-Input-Octets                     363     Unsigned64        M
ATTRIBUTE	Accounting-Output-Octets                    364     Unsigned64        M
ATTRIBUTE	Accounting-Input-Packets                    365     Unsigned64        M
ATTRIBUTE	Accounting-Output-Packets                   366     Unsigned64        M
ATTRIBUTE	Accounting-Auth-Method                      406     Enumerated        M
VALUE		Accounting-Auth-Method              PAP                                     1
VALUE		Accounting-Auth-Method              CHAP                                    2
VALUE		Accounting-Auth-Method              MS-CHAP-1                               3
VALUE		Accounting-Auth-Method              MS-CHAP-2                               4
VALUE		Accounting-Auth-Method              EAP                                     5
VALUE		Accounting-Auth-Method              None                                    7
ATTRIBUTE	Origin-AAA-Protocol                         408     Enumerated        M
VALUE		Origin-AAA-Protocol                 RADIUS                                  1
