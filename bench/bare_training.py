"""The least that trains the same with TRL and PEFT: what `bench/training.py` measures the worker against.

    python bench/bare_training.py BASE ROWS.jsonl PLAN.json OUTPUT {plan,defaults}

`plan` gives TRL the plan's settings. `defaults` gives it only what names the task (model, rows, adapter, epochs, batch, rate) and leaves the rest as
TRL has it: weights in the checkpoint's type, autocast, gradient checkpointing, rows in random order. Prints one JSON document last.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    """Trains once and prints what it took."""
    base, rows, plan_file, output, mode = sys.argv[1:]
    plan = json.loads(Path(plan_file).read_text())
    lines = [json.loads(line) for line in Path(rows).read_text().splitlines()]
    dataset = Dataset.from_list([{"prompt": row["messages"], "completion": [{"role": "assistant", "content": row["completion"]}]} for row in lines])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, plan["dtype"]))
    first, layers = plan["lora"]["first_layer"], model.config.num_hidden_layers
    lora = LoraConfig(
        r=plan["lora"]["rank"],
        lora_alpha=plan["lora"]["alpha"],
        lora_dropout=plan["lora"]["dropout"],
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        layers_to_transform=list(range(first, layers)) if first else None,
        task_type="CAUSAL_LM",
    )
    task = {
        "output_dir": output,
        "num_train_epochs": plan["epochs"],
        "per_device_train_batch_size": plan["micro_batch_size"],
        "gradient_accumulation_steps": plan["batch_size"] // plan["micro_batch_size"],
        "learning_rate": plan["learning_rate"],
        "max_length": plan["max_length"],
        "use_cpu": not torch.cuda.is_available(),
        "seed": plan["seed"],
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    same_plan = {
        "lr_scheduler_type": plan["scheduler"],
        "warmup_steps": plan["warmup_share"],
        "weight_decay": plan["weight_decay"],
        "max_grad_norm": plan["max_grad_norm"],
        "bf16": False,
        "gradient_checkpointing": plan["gradient_checkpointing"],
        "completion_only_loss": True,
        "train_sampling_strategy": "group_by_length",
        "dataloader_pin_memory": False,
        "logging_steps": 1,
    }
    config = SFTConfig(**task, **(same_plan if mode == "plan" else {}))
    trainer = SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=AutoTokenizer.from_pretrained(base), peft_config=lora)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    trainer.save_model(output)
    print(json.dumps({"step_seconds": seconds / trainer.state.global_step, "steps": trainer.state.global_step}))


if __name__ == "__main__":
    main()
