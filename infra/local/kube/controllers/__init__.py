"""Controllers: what moves the cluster towards what its objects say.

They are level-triggered: a change only puts the names of the objects concerned into a queue, and a
reconciler then looks at the current state. `Controllers.drain` works the queue off synchronously, so that
a test needs no waiting.
"""

from infra.local.kube.controllers.manager import Controllers

__all__ = ["Controllers"]
