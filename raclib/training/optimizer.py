"""AdamW with a faster rate for the query generator, its schedule, and the clipped step."""

import torch
from torch import nn

from raclib.errors import UserError
from raclib.run.config import TrainConfig
from raclib.training.schedules import learning_rate_factor


class ScheduledAdamW:
    """AdamW whose rates are a function of the step, over two groups of parameters.

    Args:
        model: Its `queries` part, if it has one, learns `retrieval_lr_factor` times faster.
        config: Rates, decay, clipping.
        num_steps: Steps of the whole run.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, num_steps: int) -> None:
        self.config, self.num_steps = config, num_steps
        groups: dict[str, list[nn.Parameter]] = {"retrieval": [], "classifier": []}
        for name, parameter in model.named_parameters():
            groups["retrieval" if name.startswith("queries.") else "classifier"].append(parameter)
        self.parameters = {name: group for name, group in groups.items() if group}
        factors = {"retrieval": config.retrieval_lr_factor, "classifier": 1.0}
        self.adamw = torch.optim.AdamW(
            [{"params": group, "factor": factors[name]} for name, group in self.parameters.items()],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )

    def step(self, loss: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """Differentiates, clips and updates; returns gradient norms by group, before clipping.

        Raises:
            UserError: if a gradient is not finite; all workers meet it together, since gradients
                are averaged before.
        """
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        norms = {
            f"gradient_norm/{name}": torch.nn.utils.get_total_norm(
                [parameter.grad for parameter in group if parameter.grad is not None]
            )
            for name, group in self.parameters.items()
        }
        total = torch.stack(list(norms.values())).norm()
        if not torch.isfinite(total):
            raise UserError(
                f"the gradient of step {step} is not finite; lower train.learning_rate "
                f"(now {self.config.learning_rate}) or retrieval.max_temperature's decay"
            )
        everything = [parameter for group in self.parameters.values() for parameter in group]
        torch.nn.utils.clip_grads_with_norm_(everything, self.config.clip_norm, total)
        rate = self.config.learning_rate * learning_rate_factor(step, self.num_steps, self.config)
        for group in self.adamw.param_groups:
            group["lr"] = rate * group["factor"]
        self.adamw.step()
        return norms
