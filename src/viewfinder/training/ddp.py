"""DistributedDataParallel with the launcher of Lightning, checked with pytorch-lightning 2.6."""

from typing import Any

from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from viewfinder.runs import peers


class Launcher(_SubprocessScriptLauncher):
    """Launcher that leaves it to `viewfinder.runs.peers` to end all processes with one of them.

    Lightning's kills this process without a message, up to five seconds later.
    """

    def launch(self, function: Any, *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            peers.started.extend(self.procs)
        return function(*args, **kwargs)


class Strategy(DDPStrategy):
    """DistributedDataParallel whose evaluation exchanges nothing between steps.

    Processes may have different numbers of evaluation batches; DistributedDataParallel would send buffers at each.
    """

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        assert self.lightning_module is not None
        return self.lightning_module.validation_step(*args, **kwargs)


def rebuild_ddp(strategy: Any, module: Any) -> None:
    """Wrap a module anew after other parameters became trainable; do nothing for another strategy.

    DistributedDataParallel averages only gradients of parameters that were trainable when it was configured.
    """
    if isinstance(strategy, DDPStrategy):
        strategy.model = module
        strategy.configure_ddp()
