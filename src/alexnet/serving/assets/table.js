// A picture of the list is chosen: the event 'choose'.
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-number]')
  if (button) trigger('choose', { number: Number(button.dataset.number) })
})
