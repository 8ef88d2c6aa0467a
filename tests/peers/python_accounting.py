"""An accounting server of python-diameter: prints a line for each Accounting-Request that it takes in, and answers 2001.

    python_accounting.py PORT
"""
import sys
import threading

from diameter.message.constants import APP_DIAMETER_BASE_ACCOUNTING, E_RESULT_CODE_DIAMETER_SUCCESS
from diameter.node import Node
from diameter.node.application import SimpleThreadingApplication


def take(application, request):
    session, kind, number = request.session_id, request.accounting_record_type, request.accounting_record_number
    # One write, for there is a thread for each request.
    print(f"ACR {kind} {number} {session} []\n", end="", flush=True)
    answer = application.generate_answer(request, result_code=E_RESULT_CODE_DIAMETER_SUCCESS)
    answer.session_id = session
    answer.accounting_record_type = kind
    answer.accounting_record_number = number
    answer.acct_application_id = APP_DIAMETER_BASE_ACCOUNTING
    return answer


node = Node("acct.test.example", "test.example", ip_addresses=["127.0.0.1"], tcp_port=int(sys.argv[1]), vendor_ids=[0])
peer = node.add_peer("aaa://gw.test.example", "test.example", ip_addresses=["127.0.0.1"])
application = SimpleThreadingApplication(APP_DIAMETER_BASE_ACCOUNTING, is_acct_application=True, request_handler=take)
node.add_application(application, [peer])
node.start()
print("ready", flush=True)
threading.Event().wait()
